"""Learning histories: one Zarr v3 store for each source and block of lifetimes, and its digest.

Storage handles arrays and knows no algorithm. Every store has these arrays (K lifetimes, E streams, S steps, U updates, d and
a dimensions; a stream is one copy of the environment in one lifetime)::

    observation, final_observation   (K, E, S, d) float32, raw; final: zero except where an episode ended. Discrete ones are
                                     (K, E, S) int64
    action                           (K, E, S, a) float32 before clipping, or (K, E, S) int64
    reward                           (K, E, S) float32, raw
    terminated, truncated            (K, E, S) bool
    env_steps                        (U,) int64, steps of one lifetime before the update's first
    mean_return                      (K, U) float32, of episodes that ended in the update; NaN where none did

and those that its source adds (gla.sources). PPO adds, for N snapshots::

    mean | logits                    (K, E, S, a) float32, of the policy that acted
    log_std                          (K, U, a) float32, continuous actions only
    snapshot_update                  (N,) int64
    policy_*                         (K, N, ...) float32, fields of gla.policies.Policy

Step s of a stream belongs to update s // steps_per_update. Each chunk has a CRC-32C, empty chunks are written, and the digest
next to the store holds the hash of every file, so that flipped bits, cut-off files and missing chunks are all noticed. The
digest is written last, and a store without a fitting digest is not used.
"""
