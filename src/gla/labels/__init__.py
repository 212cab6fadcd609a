"""Labels: whose actions a model learns to predict.

One file for each kind (``gla.labels.kinds``). It holds ``Options``, a subclass of ``gla.labels.options.LabelOptions``, or of its
``DistributionOptions`` where deviations have a floor, and::

    updates(drawn, last) -> (n, M)                      updates of the policies that give each chunk's labels; last: the source's last
    distribution(options, rows, drawn, raw)             means (or logits) and log-deviations, (n, T, a); raw: observations (n, T, d)

and, where actions themselves can be labels (``needs`` has "action")::

    action(options, rows, drawn)                        actions (n, T, a), or integers (n, T)

``Options.needs`` says which data a source must provide for each. Their arrays are in ``rows``: those with a value for each step in
``rows.steps``, others in ``rows.lifetimes``.
"""
