"""create_app(settings): the only place where the parts are wired to one another; its lifespan starts and stops them."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from fastapi import FastAPI

from sightline_service.bodies.aside import Aside
from sightline_service.bundles.bundle import Bundle, load_bundle
from sightline_service.bundles.verification import sample_columns, tried_predictor
from sightline_service.errors import SettingsError, naming_extras
from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.prediction_ids import PredictionIds, SigningKeys, load_secrets
from sightline_service.feedback.reader import LabelReader
from sightline_service.feedback.watched_files import WatchedFiles
from sightline_service.feedback.worker import LedgerWorker
from sightline_service.prediction.batching import Batcher, measure_row_ns
from sightline_service.prediction.columns import ColumnBuilder
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.recording import RowEncoder
from sightline_service.prediction.tensors import TensorReader
from sightline_service.routes import random
from sightline_service.routes.documented_keys import document_keys
from sightline_service.routes.feedback import FeedbackEndpoint, feedback_route
from sightline_service.routes.health import health_router
from sightline_service.routes.json_rows import RowWriter
from sightline_service.routes.kserve_v1 import KServeDialect, kserve_route, kserve_router
from sightline_service.routes.metadata_v2 import inference_metadata_router
from sightline_service.routes.metrics import metrics_router
from sightline_service.routes.open_inference_v2 import TensorDialect, infer_routes
from sightline_service.routes.pages import page_routes
from sightline_service.routes.predict import JsonDialect, predict_route
from sightline_service.routes.prediction_endpoint import PredictionEndpoint, PredictionParts
from sightline_service.routes.problems import answer_failures, refusal_of
from sightline_service.routes.served_model import ServedModel
from sightline_service.routes.traces import traces_router
from sightline_service.server.asgi import fastapi_options
from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.server.bounds import Bounds
from sightline_service.server.connections import Connections
from sightline_service.server.gate import Gate, GateMiddleware
from sightline_service.settings import Settings, load_settings
from sightline_service.telemetry import Telemetry, build_telemetry
from sightline_telemetry.access.certificate import Certificate
from sightline_telemetry.access.host_names import default_names, host_names
from sightline_telemetry.access.key_file import KeyFile
from sightline_telemetry.access.watched_file import Rereader, UnusableFileError
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.standard_streams import unblock_standard_streams

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """The served model: its bundle, what predicts its rows, the queue before it, and how its rows are counted.

    number: under which events name it; None if nothing is counted.
    """

    id: ModelId
    bundle: Bundle
    predictor: Predictor
    batcher: Batcher
    described: DescribedModel
    number: int | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The way of a label: what signs ids of predictions, and the ledger's thread, which verifies them."""

    ids: PredictionIds
    worker: LedgerWorker


class Access:
    """Who may ask: the gate before all routes, the keys, the certificate; each is None where nothing is set.

    Raises SettingsError for a file that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.rereader = Rereader()
        try:
            self.keys = None if settings.api_keys is None else KeyFile(settings.api_keys)
            self.certificate: Certificate | None = None
            if settings.tls_cert is not None and settings.tls_key is not None:
                self.certificate = Certificate(settings.tls_cert, settings.tls_key)
        except UnusableFileError as error:
            raise SettingsError(str(error)) from error
        for file in (self.keys, self.certificate):
            if file is not None:
                self.rereader.add(file.look)
        hosts = host_names(settings.allowed_hosts)
        self.gate = None if hosts is None and self.keys is None else Gate(hosts, self.keys)


@dataclass(slots=True)
class Parts:
    """The parts of one process, for tests and for those who embed the app."""

    telemetry: Telemetry
    model: Model
    feedback: Feedback
    access: Access
    aside: Aside
    is_ready: bool = False

    async def start(self) -> None:
        """Starts what runs beside the requests."""
        await self.feedback.worker.start()
        self.telemetry.start()
        self.access.rereader.start()
        # Objects that live as long as the process need not be visited by every collection: p99 falls tenfold.
        gc.collect()
        gc.freeze()
        self.is_ready = True

    def stop(self) -> None:
        """Stops all of it, and sends the counts."""
        self.is_ready = False
        gc.unfreeze()
        self.access.rereader.stop()
        self.aside.close()
        self.model.batcher.close()
        self.feedback.worker.close()
        self.telemetry.stop()


@naming_extras()
def create_app(*, inheritance: Inheritance | None = None, host: str | None = None, **given: Any) -> BypassApp:
    """Builds the service for one bundle; settings come from the environment, overridden by those that are given.

    inheritance: what the supervisor of `sightline serve` has given this worker; without it, this process observes
    itself.
    host: the address that is served on, by which hosts are allowed if no setting names them; without it all are.
    Raises StartupError, whose text says what to do.
    """
    settings = load_settings(**given)
    if host is not None and not settings.allowed_hosts:
        settings = settings.model_copy(update={"allowed_hosts": default_names(host)})
    streams = unblock_standard_streams()
    access = Access(settings)
    bundle = load_bundle(
        settings.bundle, settings.trusted_types, digest=settings.digest, limit_bytes=settings.max_model_mb << 20
    )
    telemetry = build_telemetry(settings, inheritance, () if access.keys is None else access.keys.names)
    streams.count_losses(telemetry.faults.lose)
    model = _build_model(bundle, telemetry, settings)
    feedback = _build_feedback(model, telemetry, settings)
    return _build_app(Parts(telemetry, model, feedback, access, Aside()), settings)


def _build_model(bundle: Bundle, telemetry: Telemetry, settings: Settings) -> Model:
    predictor = tried_predictor(bundle)
    _log.info("rows of %s are predicted by %s", bundle.name, predictor.path_description)
    described = DescribedModel(ModelId(bundle.name, bundle.version), bundle.profile, predictor.steps)
    number = telemetry.add_model(described)
    batcher = Batcher(
        predictor,
        telemetry.sink,
        number,
        telemetry.faults,
        row_ns=measure_row_ns(predictor, sample_columns(bundle.sample[:1], bundle.profile)),
        max_rows=settings.max_rows,
        max_queued_rows=settings.max_queued_rows,
    )
    return Model(described.id, bundle, predictor, batcher, described, number)


def _build_feedback(model: Model, telemetry: Telemetry, settings: Settings) -> Feedback:
    profile = model.bundle.profile
    judged = JudgedModel(model.id, profile.outcomes, bool(profile.scores))
    key_file = settings.beside_bundle("feedback.key")
    keys = SigningKeys(load_secrets(settings.feedback_keys, key_file))
    url = settings.ledger or f"sqlite:///{settings.beside_bundle('ledger.sqlite3')}"
    ledger = Ledger(url, judged, settings.label_horizon_s, last_wins=settings.last_label_wins)
    reader = LabelReader(keys, ledger, settings.max_labels)
    watched = WatchedFiles(() if settings.feedback_keys else (key_file,))
    worker = LedgerWorker(ledger, reader.record, telemetry.faults, telemetry.sink.write_aside, watched)
    return Feedback(PredictionIds(keys, judged), worker)


def _build_app(parts: Parts, settings: Settings) -> BypassApp:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.start()
        try:
            yield
        finally:
            parts.stop()

    app = BypassApp(
        title=f"{parts.model.id.name} {parts.model.id.version}",
        summary="Predictions of a scikit-learn model, measured by Sightline.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        connections=Connections(_bounds(settings), parts.telemetry.refused),
        **fastapi_options(),
    )
    app.root_path = settings.root_path  # as a server's own would be, but for paths that have lost it, too
    app.state.parts = parts
    app.certificate = parts.access.certificate
    answer_failures(app)
    _add_prediction_routes(app, parts, settings)
    _add_other_routes(app, parts, settings)
    if parts.access.keys is not None:
        app.amend_openapi = document_keys
    if parts.access.gate is not None:
        app.add_middleware(GateMiddleware, gate=parts.access.gate, refuse=refusal_of)
    parts.telemetry.measure(app)
    return app


def _bounds(settings: Settings) -> Bounds:
    return Bounds(**{bound.name: getattr(settings, bound.name) for bound in fields(Bounds)})


def _add_prediction_routes(app: BypassApp, parts: Parts, settings: Settings) -> None:
    model, profile = parts.model, parts.model.bundle.profile
    shared = PredictionParts(
        batcher=model.batcher,
        ids=parts.feedback.ids,
        model=model.number,
        encoder=RowEncoder(model.described),
        sink=parts.telemetry.sink,
        faults=parts.telemetry.faults,
        max_body_bytes=settings.max_body_bytes,
        aside=parts.aside,
    )

    reader = InstanceReader(profile, settings.max_rows)
    columns, rows = ColumnBuilder(profile), RowWriter(profile.outcomes)
    served = ServedModel(model.id, lambda: parts.is_ready)
    predict = PredictionEndpoint(JsonDialect(reader, columns, rows, model.id), shared)
    route = predict_route(predict, profile, settings.max_rows)
    app.router.routes.insert(0, route)
    if settings.asgi_bypass and model.batcher.is_instant:
        app.bypass(route, predict)
    kserve = PredictionEndpoint(KServeDialect(served, reader, columns, rows), shared)
    app.router.routes.append(kserve_route(kserve, profile, settings.max_rows))
    tensors = TensorReader(profile, columns, settings.max_rows)
    infer = PredictionEndpoint(TensorDialect(served, tensors, profile), shared)
    app.router.routes.extend(infer_routes(infer, profile, settings.max_rows))
    app.include_router(kserve_router(served))
    app.include_router(inference_metadata_router(served, profile, {"path": model.predictor.path_description}))


def _add_other_routes(app: FastAPI, parts: Parts, settings: Settings) -> None:
    feedback, telemetry = parts.feedback, parts.telemetry
    endpoint = FeedbackEndpoint(feedback.worker, settings.max_body_bytes)
    app.router.routes.append(feedback_route(endpoint))
    if settings.random_endpoint:
        number = telemetry.add_model(random.MODEL)
        app.router.routes.append(random.random_route(number, telemetry.sink, telemetry.faults))
    if telemetry.has_ring:
        app.include_router(traces_router(telemetry.read_trace))
    app.include_router(health_router(lambda: parts.is_ready))
    app.include_router(metrics_router(telemetry.scrape))
    app.router.routes.extend(page_routes())
