-- Addresses and contact data are kept sealed: one document per order, encrypted by the shop's
-- key ring (storage/key_ring.py). What stands in the clear from before is sealed, and these
-- columns emptied, by `doorbuster up` and `doorbuster keys rotate`.

ALTER TABLE orders
    ADD COLUMN sealed_personal bytea,
    -- Fraud scoring compares countries; a country alone names nobody.
    ADD COLUMN ship_country char(2),
    ALTER COLUMN shipping_address DROP NOT NULL,
    -- Not checked on what is there: it had an address so far, and reading it all takes the lock.
    ADD CONSTRAINT order_has_an_address
        CHECK (sealed_personal IS NOT NULL OR shipping_address IS NOT NULL) NOT VALID;

-- Empty once all is sealed, so that looking for what is not costs nothing.
CREATE INDEX orders_in_the_clear ON orders (order_id)
    WHERE shipping_address IS NOT NULL OR billing_address IS NOT NULL;
