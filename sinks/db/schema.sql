-- The shop in Postgres. Applied once, by `logsync consume db` or `logsync schema apply db`.
--
-- Every table has a primary key that its events know, so every write can be an upsert or an increment.
-- There are no foreign keys: a basket may be applied before its product is listed (other writer, other key).
-- Counters start at 0, because an increment may create the row.

CREATE TABLE products (
    product_id      bigint PRIMARY KEY,
    department      text NOT NULL,
    manufacturer_id bigint,
    brand           text,
    category        text,
    description     text,
    package_size    text
);

CREATE TABLE baskets (
    basket_id    bigint PRIMARY KEY,
    household_id bigint,
    store_id     bigint,
    paid_at      timestamptz,
    line_count   integer,
    cents        bigint,
    returned_at  timestamptz           -- null: it was kept
);

CREATE INDEX baskets_household ON baskets (household_id);   -- a household's page

CREATE TABLE lines (
    basket_id  bigint,
    product_id bigint,
    quantity   bigint NOT NULL,
    cents      bigint NOT NULL,
    PRIMARY KEY (basket_id, product_id)
);

CREATE TABLE households (
    household_id   bigint PRIMARY KEY,
    age            text,
    income         text,
    size           text,
    kids           text,
    composition    text,
    home_ownership text,
    marital_status text,
    street         text,
    postcode       text,
    baskets        bigint NOT NULL DEFAULT 0,
    cents          bigint NOT NULL DEFAULT 0    -- spent, refunds taken off
);

-- Per product: units and cents sold, returns taken off again.
CREATE TABLE sales (
    product_id bigint PRIMARY KEY,
    quantity   bigint NOT NULL DEFAULT 0,
    cents      bigint NOT NULL DEFAULT 0
);

CREATE TABLE coupons (
    coupon_upc  bigint,
    campaign_id bigint,
    redeemed    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (coupon_upc, campaign_id)
);
