"""What others see of a worker: log lines, health for an orchestrator, metrics for Prometheus."""
