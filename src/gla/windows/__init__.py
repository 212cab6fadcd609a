"""Windows: how training windows are cut from lifetimes.

One file for each kind (``gla.windows.kinds``). It holds ``Options``, a subclass of ``gla.windows.chunks.ChunkOptions``, and::

    draw(options, rows, n, rng) -> Drawn      draws n windows of one source with a NumPy generator

``gla.windows.rows`` holds a source in memory, and ``gla.windows.batches`` turns windows into tokens and labels. Shapes: B windows, M
chunks of P steps, T = M * P tokens, d and a dimensions of an environment.
"""
