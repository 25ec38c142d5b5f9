"""YAML that is small and stands for a great deal."""

ALIASES = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12)
)
