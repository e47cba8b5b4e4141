"""A run for other people's programs: KCIDB, JUnit, Markdown, mail."""
