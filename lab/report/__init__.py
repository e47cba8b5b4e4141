"""Results → text, JSON, HTML; the live view."""
