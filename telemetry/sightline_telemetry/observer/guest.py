"""What an observer has to know of measurements in processes of other applications."""

from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.observer.observer import ObserverOptions

OPTIONS = ObserverOptions(is_guest=True, logs_requests=False)
"""Nothing global is set, and neither spans nor process metrics are made."""


def measured(*models: DescribedModel) -> Description:
    """Returns the description of models that are measured without the service."""
    return Description(models, fault_places=("measurement", "reading"))
