"""Windows: how a training window is cut from a lifetime.

One file for each kind (``gla.windows.kinds``). It holds ``Options``, a subclass of ``gla.windows.chunks.ChunkOptions``, and::

    draw(options, rows, n, rng) -> Drawn      n windows of one source, drawn by a NumPy generator

``gla.windows.rows`` is a source in memory, ``gla.windows.batches`` makes tokens and labels of what was drawn. Shapes: B windows, M
chunks of P steps, T = M * P tokens, d and a dimensions of an environment.
"""
