"""Who is calling and what they may do: tokens, members, roles, policies and the decision, with the IAM APIs on top."""
