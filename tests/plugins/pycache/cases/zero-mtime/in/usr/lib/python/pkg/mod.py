WORDS = {"b", "a", "c d"}


def f(x):
    return x in {"one two", "three four", "five"}
