"""Encodings: what a token holds of what was seen and done, and how a model's output becomes a distribution over actions.

One file for each kind (``gla.encoding.kinds``). It holds ``Options`` and a class ``Encoding``, made from them, which training
windows and rollouts use alike, so that what a model is trained on is what it meets::

    sizes                             of the parts of a token, and of a model's output (gla.encoding.tokens.Sizes)
    check(env_id, spec)               raises UnsupportedEnvironment for what it cannot hold, naming its limit
    frames(seeds, n, spec)            what differs between contexts, such as projections: w for observations, a for actions
    seen()                            what contexts that are empty have shown, such as running moments
    observe(x, frames, seen)          observations (B, T, d) to (B, T, sizes.observation)
    act(action, frames)               actions (B, T, a), or integers (B, T), to (B, T, sizes.action)
    reward(reward, seen)              rewards (B, T) to (B, T)
    distribution(output, a)           outputs (B, T, sizes.output) to means (or logits) and log-deviations (B, T, a)
    pad(x, value)                     (..., a) to (..., all actions that it can hold)

See ``gla.encoding.projected`` for each in detail. Nothing outside of this folder counts dimensions.
"""
