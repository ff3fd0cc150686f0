"""What the policies are asked during PPO and in the evaluation of their own replies."""
