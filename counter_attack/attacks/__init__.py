"""Attacks: one contract, one module per family, all in torch and in batches.

>>> from counter_attack.attacks import PGD
>>> result = PGD(steps=200, step_size=1e-3)(network, images)     # doctest: +SKIP
>>> result.distance, result.adversarial                          # doctest: +SKIP
"""

from counter_attack.attacks._contract import Attack, AttackResult, AttackStop, Budget

__all__ = ["Attack", "AttackResult", "AttackStop", "Budget"]
