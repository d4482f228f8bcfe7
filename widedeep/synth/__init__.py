"""Sample logs, drawn from a known model: `widedeep synth`."""
