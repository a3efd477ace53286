"""The promises of the store port, one check each. A check is an async function of a `Rig`; its docstring is
the promise.
"""
