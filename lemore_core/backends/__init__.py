"""What runs the serving graph: one file a backend, chosen by name."""

from lemore_core.backends.registry import AUTO, BACKENDS, Backend, BackendError, choose, load

__all__ = ['AUTO', 'BACKENDS', 'Backend', 'BackendError', 'choose', 'load']
