"""Topics, as commands reach them: made fit to be a log, described, and judged."""

from logsync.log.facts import check_topic
from logsync.log.topic import create_topic, describe

__all__ = ["check_topic", "create_topic", "describe"]
