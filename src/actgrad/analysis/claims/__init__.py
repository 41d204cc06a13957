"""The claim ledger: statements about activation functions, each with a written rule.

A claim is a function with the decorator @claim, in a module of this folder. It takes Evidence and returns a Finding; its docstring is the rule.
If runs that it needs are missing, its verdict is `not measured`. To add a claim, add a function to a module. New modules are found automatically.
"""

import pkgutil
from importlib import import_module

from actgrad.analysis.claims.registry import CLAIMS, CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Claim, Finding, ledger, ledgers

__all__ = ["CLAIMS", "CONFIRMED", "INCONCLUSIVE", "NOT_MEASURED", "REFUTED", "Claim", "Finding", "ledger", "ledgers"]

ORDER = ("functions", "gradients", "weights", "units", "accuracy", "scaling", "leaky", "deep", "alarms", "cost", "article")
"""The modules in the order of the ledger; others follow by name."""

_found = [module.name for module in pkgutil.iter_modules(__path__)]
for _name in (*ORDER, *sorted({*_found} - {*ORDER})):
    import_module(f"{__name__}.{_name}")
