"""The grocery shop's three sinks: `logsync consume db`, `logsync consume cache`, `logsync consume search`."""
