"""create_app(settings): the only place where parts are wired to one another; its lifespan starts and stops them."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from sightline_service.bundles.bundle import Bundle, load_bundle
from sightline_service.bundles.verification import sample_columns
from sightline_service.feedback.ledger import Ledger, LedgerRules
from sightline_service.feedback.prediction_ids import PredictionIds, SigningKeys, load_secrets
from sightline_service.feedback.reader import LabelReader
from sightline_service.feedback.worker import LedgerWorker
from sightline_service.prediction.batching import Batcher, measure_row_ns
from sightline_service.prediction.columns import ColumnBuilder
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.tensors import TensorReader
from sightline_service.routes.feedback import FeedbackEndpoint, feedback_route
from sightline_service.routes.health import health_router
from sightline_service.routes.json_rows import RowWriter
from sightline_service.routes.kserve_v1 import KServeDialect, kserve_route, kserve_router
from sightline_service.routes.metadata_v2 import inference_metadata_router
from sightline_service.routes.metrics import metrics_router
from sightline_service.routes.open_inference_v2 import TensorDialect, infer_routes
from sightline_service.routes.predict import JsonDialect, predict_route
from sightline_service.routes.prediction_endpoint import Dialect, PredictionEndpoint, joined_answers
from sightline_service.routes.problems import answer_failures
from sightline_service.routes.random import random_recorder, random_route
from sightline_service.routes.served_model import ServedModel
from sightline_service.routes.traces import traces_router
from sightline_service.server.asgi_bypass import BypassApp
from sightline_service.settings import Settings, load_settings
from sightline_telemetry.export.producer import Producer
from sightline_telemetry.export.sdk import Providers, is_disabled
from sightline_telemetry.export.trace_ring import TraceRing
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel
from sightline_telemetry.model.recorder import Recorder, SilentRecorder
from sightline_telemetry.requests.fastapi_instrumentor import ContribTracing, ExternalSpanMiddleware, HeadSampler
from sightline_telemetry.requests.golden_signals import GoldenSignals
from sightline_telemetry.requests.logs import RequestLog
from sightline_telemetry.requests.middleware import IdentityMiddleware, TelemetryMiddleware
from sightline_telemetry.requests.tail_sampling import Reason, SamplingRules, TailSampler

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Parts:
    """What one process is made of, wired; for tests and for those who embed the app."""

    bundle: Bundle
    predictor: Predictor
    recorder: Recorder
    batcher: Batcher
    dummy: Recorder | None
    labels: LabelReader
    clerk: LedgerWorker
    ids: PredictionIds
    faults: Faults
    signals: GoldenSignals
    sampler: TailSampler
    producer: Producer
    ring: TraceRing | None
    providers: Providers
    log: RequestLog | None
    contrib: ContribTracing | None = None
    is_ready: bool = False

    async def start(self) -> None:
        """What runs beside the requests begins."""
        await self.clerk.start()
        self.providers.start()
        if self.contrib is not None and self.providers.tracers is not None:
            self.contrib.start(self.providers.tracers)
        if self.log is not None:
            self.log.start()
        # What lives as long as the process need not be walked through by every collection: p99 falls tenfold.
        gc.collect()
        gc.freeze()
        self.is_ready = True

    def stop(self) -> None:
        """All of it ends, and what has been counted leaves."""
        self.is_ready = False
        if self.contrib is not None:
            self.contrib.stop()
        gc.unfreeze()
        self.batcher.close()
        self.clerk.close()
        if self.log is not None:
            self.log.stop()
        self.providers.shutdown()


def create_app(**given: object) -> BypassApp:
    """The service for one bundle, as the settings say: from the environment, overridden by those that are given.

    Raises StartupError, whose text says what to do.
    """
    settings = load_settings(**given)
    parts = _build_parts(settings)
    app = _bare_app(parts)
    _add_routes(app, parts, settings)
    _add_telemetry(app, parts, settings)
    return app


def _build_parts(settings: Settings) -> Parts:
    bundle = load_bundle(settings.bundle, settings.trusted_types)
    faults = Faults("middleware", "recorder", "reading", "ledger", "request_log")
    predictor = Predictor(bundle.model, bundle.profile)
    predictor.build_fast_path(sample_columns(bundle.sample, bundle.profile))
    _log.info("rows of %s are predicted by %s", bundle.name, predictor.path)
    record = SilentRecorder if is_disabled() else Recorder
    recorder = record(
        ModelId(bundle.name, bundle.version),
        bundle.profile,
        predictor.steps,
        lambda: batcher.queued_rows,
        joined_answers,
    )
    batcher = Batcher(
        predictor,
        recorder,
        faults,
        row_ns=measure_row_ns(predictor, sample_columns(bundle.sample[:1], bundle.profile)),
        max_rows=settings.max_rows,
        max_queued_rows=settings.max_queued_rows,
    )
    dummy = random_recorder(record) if settings.random_endpoint else None
    ids, labels, clerk = _labelling(settings, recorder, faults)
    is_contrib = settings.http_tracing == "contrib"
    signals = GoldenSignals()
    sampler = HeadSampler() if is_contrib else TailSampler(_sampling_rules(settings))
    producer = Producer(signals, [recorder, *([dummy] if dummy else [])], sampler, faults, clerk.quality)
    if is_disabled():
        producer = Producer(signals, [], sampler, faults)
    ring = TraceRing() if settings.trace_ring else None
    return Parts(
        bundle=bundle,
        predictor=predictor,
        recorder=recorder,
        batcher=batcher,
        dummy=dummy,
        labels=labels,
        clerk=clerk,
        ids=ids,
        faults=faults,
        signals=signals,
        sampler=sampler,
        producer=producer,
        ring=ring,
        providers=Providers(producer, ring, is_head_sampled=is_contrib),
        log=RequestLog(faults) if settings.request_log and not is_disabled() else None,
    )


def _labelling(
    settings: Settings, recorder: Recorder, faults: Faults
) -> tuple[PredictionIds, LabelReader, LedgerWorker]:
    """What signs ids, what reads them when labels come, and who enters these into the ledger."""
    judged = JudgedModel(recorder.model, recorder.profile.outcomes, bool(recorder.profile.scores))
    keys = SigningKeys(load_secrets(settings.feedback_keys, settings.beside_bundle("feedback.key")))
    url = settings.ledger or f"sqlite:///{settings.beside_bundle('ledger.sqlite3')}"
    ledger = Ledger(url, judged, LedgerRules(settings.label_horizon_s, settings.last_label_wins))
    return PredictionIds(keys, judged), LabelReader(keys, ledger, settings.max_labels), LedgerWorker(ledger, faults)


def _add_routes(app: BypassApp, parts: Parts, settings: Settings) -> None:
    profile = parts.bundle.profile
    reader = InstanceReader(profile, settings.max_rows)
    columns = ColumnBuilder(profile)
    rows = RowWriter(profile.outcomes)
    model = ServedModel(parts.recorder.model, lambda: parts.is_ready)

    def endpoint(dialect: Dialect[Any]) -> PredictionEndpoint[Any]:
        shared = parts.batcher, parts.ids, parts.recorder, parts.faults, settings.max_body_bytes
        return PredictionEndpoint(dialect, *shared)

    ours = endpoint(JsonDialect(reader, columns, rows, parts.recorder.model))
    route = predict_route(ours, parts.recorder, settings)
    app.router.routes.insert(0, route)
    if parts.batcher.is_instant:
        app.bypass(route, ours)
    tensors = TensorDialect(model, TensorReader(profile, columns, settings.max_rows), profile)
    app.router.routes.append(kserve_route(endpoint(KServeDialect(model, reader, columns, rows)), profile))
    app.router.routes.extend(infer_routes(endpoint(tensors), profile))
    app.include_router(kserve_router(model))
    app.include_router(inference_metadata_router(model, profile, {"path": parts.predictor.path}))
    app.router.routes.append(feedback_route(FeedbackEndpoint(parts.labels, parts.clerk, settings.max_body_bytes)))
    if parts.dummy is not None:
        app.router.routes.append(random_route(parts.dummy, parts.faults))
    if parts.ring is not None:
        app.include_router(traces_router(parts.ring))
    app.include_router(health_router(lambda: parts.is_ready))
    app.include_router(metrics_router(parts.providers.scrape))


def _add_telemetry(app: BypassApp, parts: Parts, settings: Settings) -> None:
    is_contrib = settings.http_tracing == "contrib" and not is_disabled()
    parts.contrib = ContribTracing(app) if is_contrib else None
    measured = ExternalSpanMiddleware if is_contrib else TelemetryMiddleware
    app.add_middleware(
        IdentityMiddleware if is_disabled() else measured,
        signals=parts.signals,
        sampler=parts.sampler,
        writer=parts.providers if parts.providers.keeps_traces else None,
        faults=parts.faults,
        log=parts.log,
    )
    if not is_disabled():
        _expect_documented(app, parts.signals)


def _bare_app(parts: Parts) -> BypassApp:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.start()
        try:
            yield
        finally:
            parts.stop()

    app = BypassApp(
        title=f"{parts.bundle.name} {parts.bundle.version}",
        summary="Predictions of a scikit-learn model, measured by Sightline.",
        lifespan=lifespan,
        # FastAPI's own telemetry would count every request a second time as soon as a global provider exists.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.parts = parts
    answer_failures(app)
    return app


def _sampling_rules(settings: Settings) -> SamplingRules:
    return SamplingRules(
        slow_s=settings.slow_s,
        share=settings.trace_share,
        allowances={
            Reason.ASKED: settings.traces_asked_per_s,
            Reason.FAILED: settings.traces_failed_per_s,
            Reason.SLOW: settings.traces_slow_per_s,
            Reason.EXEMPLAR: settings.traces_exemplar_per_s,
        },
    )


def _expect_documented(app: FastAPI, signals: GoldenSignals) -> None:
    """Every documented answer of every route has its series at 0 before the first request."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            signals.expect(method.upper(), path, [int(status) for status in operation["responses"]])
