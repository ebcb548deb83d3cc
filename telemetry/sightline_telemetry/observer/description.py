"""What the first worker tells the observer: what is counted, and what the settings want."""

import json
from dataclasses import asdict

from sightline_telemetry.counts.description import Description
from sightline_telemetry.observer.observer import ObserverOptions
from sightline_telemetry.traces.tail_sampling import Reason, SamplingRules


def describe(description: Description, options: ObserverOptions) -> bytes:
    """Writes both as JSON."""
    return json.dumps(asdict(options)).encode() + b"\n" + description.to_bytes()


def read_described(data: bytes) -> tuple[Description, ObserverOptions]:
    """Reads what `describe` wrote."""
    options, _, description = data.partition(b"\n")
    fields = json.loads(options)
    rules, hosts = fields.pop("rules"), tuple(fields.pop("allowed_hosts"))
    allowances = {Reason(name): per_s for name, per_s in rules.pop("allowances").items()}
    sampling = SamplingRules(**rules, allowances=allowances)
    return Description.from_bytes(description), ObserverOptions(sampling, allowed_hosts=hosts, **fields)
