"""The rules that `core/decide` applies, in the order of its descent.

dedupe → (profile) → exits → enroll → advance, all writing into one `Draft`.
"""
