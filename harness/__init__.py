"""The backend-agnostic harness: it imports no backend and, at import time, no torch."""
