"""Sources: who acts in an environment while learning histories are written, and what is recorded.

One file for each kind (``gla.sources.kinds``). It holds ``Options``, a subclass of ``gla.sources.options.SourceOptions``, and::

    arrays(options, spec, lifetimes) -> dict[str, Array]    the arrays of a store of these lifetimes
    run(options, environment, lifetimes, name) -> Run       who acts

See ``gla.sources.options`` for ``Array`` and ``Run``. Arrays that every store has are listed in ``gla.storage``.
"""
