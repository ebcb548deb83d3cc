"""Sampled stacks are added up by stage: by what a call belongs to, or by the innermost frame that says so."""

from benchmarks.stages import OBSERVER, Stages, added_up, section

SERVICE, TELEMETRY = "sightline_service", "sightline_telemetry"
SUPERVISOR = 'process 1:"python -P -m sightline_telemetry.observer.supervisor {"port": 8000}"'
WORKER = f'{SUPERVISOR};process 2:"python -P -m sightline_service.worker"'
FOLDING = f'{SUPERVISOR};process 3:"python -P -m sightline_telemetry.observer.process"'
RUN = f"{WORKER};thread (7): MainThread;main ({SERVICE}/worker.py:108);Runner.run (asyncio/runners.py:118)"
ASKED = f"{RUN};RequestResponseCycle.run_asgi (uvicorn/protocols/http/httptools_impl.py:422)"
MEASURED = f"{ASKED};TelemetryMiddleware.__call__ ({TELEMETRY}/requests/middleware.py:90)"
SERVED = f"{MEASURED};serve ({SERVICE}/routes/prediction_endpoint.py:9)"
UVICORN = "uvicorn/protocols/http/httptools_impl.py"
READ = f"{RUN};HttpToolsProtocol.data_received ({UVICORN}:174);f ({SERVICE}/server/protocol.py:80)"
BYPASS = f"{READ};AsgiBypass.serve ({SERVICE}/server/asgi_bypass.py:90)"
SHORT = f"{BYPASS};TelemetryMiddleware.end ({TELEMETRY}/requests/middleware.py:150)"
FLUSH = f"CoalescingTransport.flush ({SERVICE}/server/joined_writes.py:90)"
ANSWERED = f"{SERVED};respond ({SERVICE}/server/asgi.py:80);send ({TELEMETRY}/requests/middleware.py:99)"
STACKS = [
    f"{RUN} 10",
    f"{SERVED};Batcher.predict ({SERVICE}/prediction/batching.py:98);dot (numpy/core.py:4) 30",
    f"{ANSWERED};request_event ({TELEMETRY}/events/layout.py:150) 4",
    f"{SERVED};RowEncoder.encode ({SERVICE}/prediction/recording.py:7);arrays ({SERVICE}/prediction/columns.py:70) 6",
    f"{SERVED};InstanceReader.read ({SERVICE}/prediction/instances.py:12) 8",
    f"{SERVED};InstanceReader.read ({SERVICE}/prediction/instances.py:19) 2",
    f"{SHORT};RingWriter.append ({TELEMETRY}/events/ring.py:60) 3",
    f"{SHORT};BypassProtocol._write ({SERVICE}/server/protocol.py:120) 5",
    f"{SHORT};BypassProtocol._write ({SERVICE}/server/protocol.py:120);{FLUSH} 7",
    f"{RUN};WriteBatch._end ({SERVICE}/server/joined_writes.py:50);{FLUSH} 9",
    f"{READ} 1",
    f"{FOLDING};thread (8): MainThread;fold ({TELEMETRY}/counts/fold.py:140) 13",
    f"{FOLDING};thread (9): request-log;run (threading.py:9);LogWriter.flush ({TELEMETRY}/export/logs.py:140) 7",
    f"{FOLDING};thread (9): request-log;run (threading.py:9);Condition.wait (threading.py:331) 900",
]


def test_samples_are_added_up_by_stage() -> None:
    """What a model or the encoder of rows calls is theirs; waiting belongs to no stage; the observer is one stage."""
    stages = dict(added_up(STACKS, 50.0).samples)
    assert stages == {
        "predicting": 30,
        OBSERVER: 20,
        "event loop: polling, reading from sockets": 10,
        "reading: body, JSON, checks, columns": 10,
        "writing predicted rows into the event": 6,
        "measuring: ids, context, times, event": 7,
        "writing the answer": 5,
        "writing to sockets: system calls": 16,
        "the bypass: HTTP": 1,
    }


def test_a_function_is_one_whatever_its_line() -> None:
    """Samples of one function are added up over its lines."""
    functions = dict(added_up(STACKS, 50.0).functions)
    assert functions[f"InstanceReader.read ({SERVICE}/prediction/instances.py)"] == 10
    assert "Condition.wait (threading.py)" not in functions


def test_microseconds_are_shares_of_a_request() -> None:
    """A stage's time is its share of the CPU time of a request."""
    lines = section({"a load": added_up(STACKS, 50.0)})
    assert "### Profile: a load" in lines
    assert "| predicting | 28.6% | 14.3 |" in lines
    assert "| all: 105 samples | | 50.0 |" in lines


def test_a_page_without_a_profile_says_why() -> None:
    """Where the profiler is missing, the page says how to get it."""
    assert section({"a load": Stages(fault="get it")})[-1] == "No profile: get it."
