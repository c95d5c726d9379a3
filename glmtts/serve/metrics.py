"""What Prometheus is told. One object a server, with a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
RATIO = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0)


class Metrics:
    """Counters, gauges and histograms of a server."""

    def __init__(self) -> None:
        """Start at zero."""
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "glmtts_requests", "Texts by how they ended.", ["outcome"], registry=registry
        )
        self.finish = Counter(
            "glmtts_finish", "Texts by finish_reason; all but stop are runaway guards.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self.first_audio = Histogram(
            "glmtts_first_audio_seconds", "From a text's arrival to its first sound.",
            buckets=LATENCY, registry=registry,
        )  # fmt: skip
        self.queued = Histogram(
            "glmtts_queued_seconds", "Time a text waits for its turn.",
            buckets=LATENCY, registry=registry,
        )  # fmt: skip
        self.rtf = Histogram(
            "glmtts_real_time_factor", "Seconds of work per second of sound, one text.",
            buckets=RATIO, registry=registry,
        )  # fmt: skip
        self.audio = Counter("glmtts_audio_seconds", "Sound made.", registry=registry)
        self.characters = Counter("glmtts_characters", "Characters taken.", registry=registry)
        self.underruns = Counter(
            "glmtts_underruns", "Times a listener had heard everything before more was made.",
            registry=registry,
        )  # fmt: skip
        self.underrun_seconds = Counter(
            "glmtts_underrun_seconds", "How long they waited.", registry=registry
        )
        self.running = Gauge("glmtts_running", "Texts being spoken.", registry=registry)
        self.waiting = Gauge("glmtts_waiting", "Texts waiting.", registry=registry)
        self.batch = Gauge(
            "glmtts_batch_size", "Utterances in the language model.", registry=registry
        )
        self.jobs = Gauge("glmtts_jobs", "Long jobs not ended.", registry=registry)
        self.http = Counter(
            "glmtts_http_responses", "Responses by status.", ["status"], registry=registry
        )

    def page(self) -> bytes:
        """The text Prometheus reads."""
        return generate_latest(self.registry)
