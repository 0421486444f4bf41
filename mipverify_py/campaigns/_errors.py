"""Errors of campaigns, as leaves of the tree in `onnx_models.errors`."""

from __future__ import annotations

from onnx_models.errors import InputError, MipverifyError


class CampaignError(InputError):
    """A store, or what is put into one, cannot be used as given."""


class StoreBusyError(CampaignError):
    """Another process, or another `Store` of this one, is writing to the store."""


class StoreUnreachableError(CampaignError):
    """The file of a store cannot be used at the moment; what was recorded before is in it."""


class StoreFullError(MipverifyError, OSError):
    """The store cannot grow; all that was recorded before is in it, and it can be opened again."""
