"""FastAPI servers to compare with: A empty, B scikit-learn, C and D the same with the usual telemetry.

python -m benchmarks.apps.plain {A,B,C,D} BUNDLE PORT
"""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import prometheus_client
import uvicorn
from fastapi import FastAPI, Response
from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sightline_service.bundles.bundle import Bundle, load_bundle
from sightline_service.routes.openapi import ModelOut, PredictionOut, PredictOut, request_model

PATH = "/predict/model"
MAX_ROWS = 10_000_000
_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def empty(bundle: Bundle) -> FastAPI:
    """A: the same request and response models, and nothing between them."""
    app = FastAPI(telemetry=_TELEMETRY)
    answer = _answer(bundle, pd.DataFrame([[0.5] * len(bundle.profile.outcomes)]).to_numpy())

    async def predict(body: Any) -> Any:  # noqa: ARG001
        return answer

    return _routed(app, predict, bundle)


def scikit_learn(bundle: Bundle) -> FastAPI:
    """B: a DataFrame of the rows, and the pipeline."""
    app = FastAPI(telemetry=_TELEMETRY)

    def predict(body: Any) -> Any:
        return _answer(bundle, bundle.model.predict_proba(frame(bundle, body)))

    return _routed(app, predict, bundle)


def instrumented(bundle: Bundle) -> FastAPI:
    """C: B with OpenTelemetry's instrumentation of FastAPI, every trace, and a metric recorded for each value."""
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=5000)])
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    metrics.set_meter_provider(meters)
    trace.set_tracer_provider(tracers)
    meter = meters.get_meter("benchmark")
    predictions, categories = meter.create_counter("predictions"), meter.create_counter("categories")
    values, scores = meter.create_histogram("values"), meter.create_histogram("scores")
    app = FastAPI(telemetry=_TELEMETRY)

    def predict(body: Any) -> Any:
        rows = frame(bundle, body)
        answer = _answer(bundle, bundle.model.predict_proba(rows))
        for row in rows.to_dict("records"):
            for feature in bundle.profile.numeric:
                if not pd.isna(row[feature.name]):
                    values.record(row[feature.name], {"feature": feature.name})
            for category in bundle.profile.categorical:
                categories.add(1, {"feature": category.name, "category": str(row[category.name])})
        for each in answer.predictions:
            predictions.add(1, {"outcome": each.outcome})
            scores.record(each.probabilities[each.outcome], {"outcome": each.outcome})
        return answer

    _routed(app, predict, bundle)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracers, meter_provider=meters)
    return app


def scraped(bundle: Bundle) -> FastAPI:
    """D: B with prometheus_client, labels looked up for each value, as tutorials do it."""
    predictions = prometheus_client.Counter("predictions", "Rows.", ["outcome"])
    categories = prometheus_client.Counter("categories", "Categories.", ["feature", "category"])
    values = prometheus_client.Histogram("values", "Numbers.", ["feature"])
    scores = prometheus_client.Histogram("scores", "Probabilities.", ["outcome"])
    seconds = prometheus_client.Histogram("seconds", "Duration of requests.", ["method", "path"])
    app = FastAPI(telemetry=_TELEMETRY)

    def predict(body: Any) -> Any:
        with seconds.labels("POST", PATH).time():
            rows = frame(bundle, body)
            answer = _answer(bundle, bundle.model.predict_proba(rows))
            for row in rows.to_dict("records"):
                for feature in bundle.profile.numeric:
                    if not pd.isna(row[feature.name]):
                        values.labels(feature.name).observe(row[feature.name])
                for category in bundle.profile.categorical:
                    categories.labels(category.name, str(row[category.name])).inc()
            for each in answer.predictions:
                predictions.labels(each.outcome).inc()
                scores.labels(each.outcome).observe(each.probabilities[each.outcome])
            return answer

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(prometheus_client.generate_latest(), media_type="text/plain")

    return _routed(app, predict, bundle)


def frame(bundle: Bundle, body: Any) -> pd.DataFrame:
    """The rows of a request as the pipeline wants them."""
    data = pd.DataFrame([instance.model_dump(by_alias=True) for instance in body.instances])
    data = data[list(bundle.profile.order)]
    return data.astype({feature.name: "float64" for feature in bundle.profile.numeric})


def _answer(bundle: Bundle, probabilities: Any) -> PredictOut:
    names = bundle.profile.outcomes
    predictions = [
        PredictionOut(
            prediction_id=f"prediction.{row}",
            outcome=names[int(each.argmax())],
            probabilities=dict(zip(names, each.tolist(), strict=True)),
        )
        for row, each in enumerate(probabilities)
    ]
    return PredictOut(
        predictions=predictions, model=ModelOut(name=bundle.name, version=bundle.version), trace_id="0" * 32
    )


def _routed(app: FastAPI, predict: Any, bundle: Bundle) -> FastAPI:
    predict.__annotations__ = {"body": request_model(bundle.profile, MAX_ROWS), "return": PredictOut}
    app.post(PATH)(predict)
    return app


def main(kind: str, folder: str, port: str) -> None:
    """Serves one of them, one worker, no access log, uvloop and httptools."""
    make = {"A": empty, "B": scikit_learn, "C": instrumented, "D": scraped}[kind]
    uvicorn.run(make(load_bundle(Path(folder))), port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
