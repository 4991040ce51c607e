"""Plans become verdicts, verdicts become released pods."""
