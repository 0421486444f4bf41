"""Putting a spec into a store."""

from __future__ import annotations

from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._reading import Added
from mipverify_py.campaigns._spec import CampaignSpec
from mipverify_py.campaigns._store import Store


def add_spec(store: Store, spec: CampaignSpec) -> Added:
    """Adds what a spec asks that the store does not have yet, and the spec itself; on an error nothing is added.

    A store grows: a spec for one that is there already asks all that the store has, and maybe more. Limits and settings
    of runs may differ.

    Raises:
        MipverifyError: a model or the data cannot be used, or a query makes no sense.
        CampaignError: the spec has another model, other options, data or seed than the store, or leaves out queries.
    """
    models, queries = spec.models(), spec.queries()
    keys = {query.key for query in queries}
    with store.database.writing():
        for model in models:
            store.add_model(model)
        added = store.add_queries(queries, spec.record())
        left = [query for query in store.queries(with_inputs=False) if query.key not in keys]
        if left:
            first, count = left[0].record, f"{len(left)} {'query' if len(left) == 1 else 'queries'}"
            raise CampaignError(
                f"{store.name} holds {count} that the spec does not ask, "
                f"the first about {first.configuration}, {first.input.dataset} {first.input.index}, {first.kind.value} "
                f"in {first.question['norm']}. Put them back into the spec, use another store, or resume this one as "
                "it is."
            )
    return added
