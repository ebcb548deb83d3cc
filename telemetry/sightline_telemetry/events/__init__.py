"""Events of a worker, and the shared memory that carries them; knows neither numpy nor OpenTelemetry."""
