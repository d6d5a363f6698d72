"""How often and how patiently the cluster is asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. The defaults suit a real API server; tests are in more of a hurry."""

    #: Length of a watch, and silence after which it counts as lost. A bookmark comes about once a minute.
    watch: float = 50.0
    silence: float = 60.0
    #: Between two attempts after failures: doubled from the first to the second, and half of it by chance.
    first_retry: float = 0.5
    last_retry: float = 30.0
    #: After something that a person has to mend.
    refused: float = 30.0
    #: Between two questions for what can't be watched: metrics-server measures every 15 s.
    poll: float = 15.0
    #: A watch that ends sooner than this counts as a failure.
    steady: float = 1.0
