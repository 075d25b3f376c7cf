"""Find what an access policy or a service policy allows and probably does not intend."""
