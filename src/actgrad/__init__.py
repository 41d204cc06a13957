"""What the activation function does to a network, and to the gradient that reaches each of its layers."""
