"""From evidence to a verdict: hard rules, severity, suspected causes, findings in sentences, episodes."""
