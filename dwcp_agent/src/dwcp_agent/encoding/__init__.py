"""How content is made smaller, and made whole again within limits."""
