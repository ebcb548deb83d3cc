"""The only reader of our environment variables, all with the prefix SIGHTLINE_; OTEL_* belongs to the SDK."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sightline_service.errors import SettingsError

PREFIX = "SIGHTLINE_"

PerSecond = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _split(names: object) -> object:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Every setting, with the meaning under its name; the README's table lists the same."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    bundle: Path
    """Folder of the bundle that is served."""

    max_rows: Annotated[int, Field(ge=1, le=2**24)] = 10_000
    """Rows in one request, at most."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024
    """Size of a request body, at most."""

    max_queued_rows: Annotated[int, Field(ge=1)] = 50_000
    """Rows that may wait for the model; a request above that is answered 503."""

    trusted_types: Names = ()
    """Types, separated by commas, that a model may hold beyond those of the demo and of skops' own list."""

    feedback_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(repr=False)] = ()
    """Secrets, separated by commas, that sign prediction ids: the first one signs, all verify."""

    ledger: Annotated[str, Field(repr=False)] = ""
    """URL of the ledger of labels, `sqlite:///PATH` or `postgresql+psycopg://...`; empty: SQLite beside the bundle."""

    label_horizon_s: Annotated[float, Field(gt=0, le=10 * 365 * 86400)] = 30 * 86400.0
    """Labels of predictions that are older are late, in seconds."""

    last_label_wins: bool = False
    """A second, different label for a prediction corrects the first one; otherwise it is refused."""

    max_labels: Annotated[int, Field(ge=1)] = 10_000
    """Labels in one request, at most."""

    request_log: bool = True
    """Writes a JSON line for each request, saying whether its trace was kept."""

    random_endpoint: bool = False
    """Serves `/predict/random`, the dummy model that makes spikes and errors on demand."""

    trace_ring: bool = False
    """Keeps the last 1,000 kept traces in memory and serves them at `/traces/{trace_id}`."""

    http_tracing: Literal["sightline", "contrib"] = "sightline"
    """Who makes the server spans: we, deciding at the end, or OpenTelemetry's FastAPIInstrumentor, at the start."""

    trace_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of requests whose trace is kept whatever becomes of them."""

    slow_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """A request that takes longer is slow, in seconds."""

    traces_asked_per_s: PerSecond = 100.0
    """Traces kept a second because the caller, or the share, asked for them."""

    traces_failed_per_s: PerSecond = 20.0
    """Traces kept a second because the request failed."""

    traces_slow_per_s: PerSecond = 20.0
    """Traces kept a second because the request was slow."""

    traces_exemplar_per_s: PerSecond = 20.0
    """Traces kept a second because a latency bucket had no exemplar."""

    def beside_bundle(self, name: str) -> Path:
        """A file that outlives the bundle's folder, which is replaced whole when the bundle is made anew."""
        folder = self.bundle.resolve()
        return folder.with_name(f"{folder.name}.{name}")


def load_settings(**given: object) -> Settings:
    """Settings from the environment, overridden by what is given.

    Raises SettingsError for a value that does not fit, and for a SIGHTLINE_ variable that does not exist: a
    misspelt one would be without effect, silently.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        return Settings(**given)  # type: ignore[arg-type]  # validated right here
    except ValidationError as error:
        wrong = "; ".join(
            f"{PREFIX}{str(fault['loc'][0]).upper()}={fault['input']!r}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsError(f"a setting does not fit: {wrong}") from error


def trusted_types() -> tuple[str, ...]:
    """SIGHTLINE_TRUSTED_TYPES, for a command that reads a model and serves none."""
    return tuple(name.strip() for name in os.environ.get(f"{PREFIX}TRUSTED_TYPES", "").split(",") if name.strip())
