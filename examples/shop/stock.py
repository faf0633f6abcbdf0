"""Put some products on the shelf: `python -m examples.shop.stock`. Running it again changes nothing."""

from __future__ import annotations

from logsync import Producer
from sinks.events import ProductListed, log

SHELF = """
    GROCERY     National  FLUID MILK          Milk, whole                   1 GA
    GROCERY     Private   FLUID MILK          Milk, two percent             1/2 GA
    GROCERY     National  YOGURT              Yogurt, plain                 32 OZ
    GROCERY     Private   CHEESE              Cheddar, mild, shredded       8 OZ
    GROCERY     National  CHEESE              Gouda, in wax                 7 OZ
    GROCERY     Private   BREAD               Bread, white                  20 OZ
    GROCERY     National  BREAD               Bread, rye, sliced            16 OZ
    GROCERY     National  COLD CEREAL         Oat rings                     12 OZ
    GROCERY     Private   DRY NOODLES/PASTA   Spaghetti                     1 LB
    GROCERY     National  SOFT DRINKS         Ginger ale                    12 OZ
    GROCERY     Private   EGGS                Eggs, large                   1 DZ
    PRODUCE     National  TROPICAL FRUIT      Bananas                       40 LB
    PRODUCE     National  BERRIES             Strawberries                  16 OZ
    PRODUCE     National  TOMATOES            Tomatoes on the vine          1 LB
    PRODUCE     Private   SALAD MIX           Salad, baby leaves            5 OZ
    MEAT        National  BEEF                Beef, lean, ground            1 LB
    MEAT        National  CHICKEN             Chicken thighs                2 LB
    PASTRY      Private   ROLLS               Cinnamon rolls                6 CT
    PASTRY      National  CAKES               Carrot cake                   8 IN
    DELI        National  SANDWICHES          Sandwich, turkey and swiss    1 CT
    DRUG GM     National  SOAP                Soap, lavender, liquid        7.5 OZ
    DRUG GM     Private   ANALGESICS          Aspirin                       50 CT
    FLORAL      National  CUT FLOWERS         Tulips, bunch of ten          10 CT
    SEAFOOD     National  SALMON              Salmon fillet                 8 OZ
"""


def products() -> list[ProductListed]:
    """Numbered from 1, far below the numbers of the demo's products."""
    rows = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in SHELF.strip().splitlines()]
    return [
        ProductListed(
            product_id=number,
            department=department,
            brand=brand,
            category=category,
            description=name,
            package_size=size,
        )
        for number, (department, brand, category, name, size) in enumerate(rows, start=1)
    ]


if __name__ == "__main__":
    with Producer(log) as producer:
        producer.append_many(products())
    print(f"{len(products())} products are in the log")
