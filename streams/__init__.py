"""The edges: Kafka in and out, the Redis topic, files; everything that talks to another system."""
