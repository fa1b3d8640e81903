"""What is known about the networks of the zoo: their cost, by several ways of counting."""
