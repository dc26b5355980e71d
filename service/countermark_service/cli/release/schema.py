"""`countermark release schema`: the JSON Schema of a card."""


def schema() -> None:
    """Print the JSON Schema of release cards.

    Example: `countermark release schema > countermark.schema.json`

    Name it in a card as `"$schema": "countermark.schema.json"`, and an editor checks the card as you write.
    """
    from countermark_service.cli.console import print_json
    from countermark_service.releases import card_schema

    print_json(card_schema())
