"""Backends: what runs the network. Only the one that is used is imported."""

from lemore_core.inference.backend import AUTO, Backend, ServingRequest, Status
from lemore_core.inference.registry import BACKENDS, load, load_on_cpu

__all__ = ['AUTO', 'BACKENDS', 'Backend', 'ServingRequest', 'Status', 'load', 'load_on_cpu']
