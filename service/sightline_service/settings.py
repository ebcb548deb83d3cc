"""The only reader of our environment variables, all with the prefix SIGHTLINE_; OTEL_* belongs to the SDK."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sightline_service.errors import SettingsError

PREFIX = "SIGHTLINE_"

OF_CLIENTS = frozenset({f"{PREFIX}API_KEY"})
"""Variables that commands read which ask a service; a service that has them in its environment starts all the same."""

PerSecond = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _split(names: object) -> object:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Every setting, with its meaning under its name; `make docs` writes docs/settings.md from these texts."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    bundle: Path
    """Folder of the bundle that is served; `sightline serve` sets it."""

    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Digest of the only bundle that is served, as `sightline bundle` prints it; without it any bundle is.

    A person who may write to the bundle's folder can then keep the service from starting, and nothing else.
    """

    max_model_mb: Annotated[int, Field(ge=1, le=1 << 20)] = 1024
    """Megabytes that the model of a bundle may take when it is unpacked; a larger one is refused before it is."""

    max_rows: Annotated[int, Field(ge=1, le=2**24)] = 10_000
    """Largest number of rows in one request."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024
    """Largest size of a request body, in bytes."""

    max_queued_rows: Annotated[int, Field(ge=1)] = 50_000
    """Largest number of rows that wait for the model; a request above that is answered 503."""

    max_head_bytes: Annotated[int, Field(ge=1024, le=2**24)] = 65_536
    """Largest size of a request line with its headers, in bytes; a longer one is answered 431, or 414."""

    max_headers: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Largest number of headers of one request; more are answered 431."""

    head_s: Seconds = 10.0
    """Seconds within which a head must be whole, from its first byte on; then the connection is closed."""

    body_stall_s: Seconds = 30.0
    """Seconds without progress of a body, after which it is answered 408.

    Progress is what SIGHTLINE_MIN_BODY_RATE asks for: a byte now and then is none.
    """

    body_grace_s: Seconds = 10.0
    """Seconds from which on the average rate of a body must be at least SIGHTLINE_MIN_BODY_RATE."""

    min_body_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1000.0
    """Lowest rate at which a body may come, in bytes per second; a slower one is answered 408."""

    idle_s: Seconds = 75.0
    """Seconds that a connection may be idle before it is closed; the idle time of a load balancer must be shorter."""

    unread_s: Seconds = 30.0
    """Seconds that an answer may stay unread before the connection is closed.

    A client that takes at least SIGHTLINE_MIN_BODY_RATE may take longer.
    """

    max_connections: Annotated[int, Field(ge=1, le=2**20)] = 4096
    """Largest number of connections per worker; fewer if the process may have fewer descriptors, of which 64 are kept.

    Without room, connections that wait longest for a request are closed in favour of new ones.
    """

    max_open_body_bytes: Annotated[int, Field(ge=1)] = 128 * 1024 * 1024
    """Largest size of all bodies that a worker reads at a time, in bytes; a request above that is answered 503.

    The first 16 KiB of each body do not count, so that small requests are served meanwhile.
    """

    trusted_types: Names = ()
    """Types, separated by commas, that a model may contain beyond those of scikit-learn that are trusted by default."""

    feedback_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(repr=False)] = ()
    """Secrets of at least 16 characters, separated by commas: the first one signs prediction ids, all verify them.

    Without it a key is made and kept beside the bundle. Replicas with different keys reject each other's ids as forged.
    """

    ledger: Annotated[str, Field(repr=False)] = ""
    """URL of the ledger of labels: `sqlite:////PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.

    Without it the ledger is a SQLite file beside the bundle. Replicas on several machines need PostgreSQL.
    """

    label_horizon_s: Annotated[float, Field(gt=0, le=10 * 365 * 86400)] = 30 * 86400.0
    """Age of a prediction, in seconds, from which on its label is rejected as late.

    The ledger then forgets that it has seen the label; the totals stay.
    """

    last_label_wins: bool = False
    """A second, different label corrects the first one; otherwise it is answered `conflict`."""

    max_labels: Annotated[int, Field(ge=1)] = 10_000
    """Largest number of labels in one request; a request above that is answered 413."""

    request_log: bool = True
    """Writes one JSON line per request, with its trace id, its span id and whether its trace was kept.

    The demo sets it to false.
    """

    random_endpoint: bool = False
    """Serves `/predict/random`, a dummy model that makes spikes and errors on demand. The demo sets it to true."""

    trace_ring: bool = False
    """Holds the last 1,000 kept traces in memory and serves them at `/traces/{trace_id}`. The demo sets it to true."""

    http_tracing: Literal["sightline", "contrib"] = "sightline"
    """What makes the server spans: `sightline`, or `contrib`, which is OpenTelemetry's FastAPIInstrumentor.

    With `contrib`, traces are sampled at their start by `OTEL_TRACES_SAMPLER`, and no setting below has an effect. The
    page on traces compares the two.
    """

    asgi_bypass: bool = True
    """Answers small requests within the read that completes them, past ASGI.

    Only if the model is quick enough and the app has no other middleware. With false every request goes through ASGI.
    """

    api_keys: Path | None = None
    """File of keys, as `sightline key add` writes them: each request then needs one, except for health.

    It is read again when it changes.
    """

    allowed_hosts: Names = ()
    """Names that a Host header may have, separated by commas; `*` allows all, `*.example.com` what ends so.

    Without it `sightline serve` on a loopback address allows loopback names only, and elsewhere all names. Routes of
    health answer to any name.
    """

    tls_cert: Path | None = None
    """File with a certificate and its chain, in PEM, for HTTPS; the option `--tls-cert` sets it.

    It is read again when it changes. Only `sightline serve` and the demo heed it.
    """

    tls_key: Path | None = None
    """File with the private key of that certificate, in PEM without a password; the option `--tls-key` sets it."""

    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    """Prefix of all paths at a proxy in front, such as `/models/churn`, whether or not the proxy removes it.

    The option `--root-path` sets it.
    """

    grace_s: Annotated[float, Field(ge=1, le=3600)] = 8.0
    """Seconds that an orderly stop may take; the workers have 3 less, or half of it if that is more.

    Docker kills after 10 seconds, Kubernetes after 30. Only `sightline serve` with an observer process heeds it.
    """

    slots: Annotated[int, Field(ge=1, le=65_535)] = 1024
    """Requests per worker that other processes see while they run: a request above that is not named if it is lost."""

    ring_mb: Annotated[int, Field(ge=1, le=1024)] = 8
    """Megabytes per worker in which events wait for the observer; memory is used only as they do."""

    standstill_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    """Seconds that a worker's event loop may stand still before that is logged, with the request that it stands in."""

    end_standstill: bool = False
    """Kills a worker whose event loop stands still for longer, so that another one takes its place."""

    trace_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of requests, from 0 to 1, whose trace is kept in any case."""

    slow_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """Duration in seconds above which a request is slow.

    A request is also slow if it takes three times its route's 95th percentile of the last minute.
    """

    traces_asked_per_s: PerSecond = 100.0
    """Largest number of traces kept per second because the caller, or the share, requested them."""

    traces_failed_per_s: PerSecond = 20.0
    """Largest number of traces kept per second because the request failed."""

    traces_slow_per_s: PerSecond = 20.0
    """Largest number of traces kept per second because the request was slow."""

    traces_exemplar_per_s: PerSecond = 20.0
    """Largest number of traces kept per second because a latency bucket had no exemplar."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("SIGHTLINE_TLS_CERT and SIGHTLINE_TLS_KEY are set together, or neither")
        return self

    def beside_bundle(self, name: str) -> Path:
        """A file that outlives the bundle's folder, which is replaced whole when the bundle is made again."""
        folder = self.bundle.resolve()
        return folder.with_name(f"{folder.name}.{name}")


def load_settings(**given: object) -> Settings:
    """Settings from the environment, overridden by what is given.

    Raises SettingsError for a value that does not fit, and for a SIGHTLINE_ variable that does not exist: a
    misspelt one would be without effect, silently.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known | OF_CLIENTS
    )
    if unknown:
        raise SettingsError(f"there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        return Settings(**given)  # type: ignore[arg-type]  # validated right here
    except ValidationError as error:
        wrong = "; ".join(
            f"{PREFIX}{str(fault['loc'][0]).upper()}={fault['input']!r}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise SettingsError(f"a setting does not fit: {wrong}") from error


def max_model_bytes() -> int:
    """SIGHTLINE_MAX_MODEL_MB in bytes, for a command that reads a model and serves none. Raises SettingsError."""
    return load_settings(bundle=Path()).max_model_mb << 20


def trusted_types() -> tuple[str, ...]:
    """SIGHTLINE_TRUSTED_TYPES, for a command that reads a model and serves none."""
    return tuple(name.strip() for name in os.environ.get(f"{PREFIX}TRUSTED_TYPES", "").split(",") if name.strip())
