"""Measures of what the context is used for, beside perplexity; see docs/measures.md."""
