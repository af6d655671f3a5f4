-- Operators page through a warehouse's pairs; without it a page reads the others', too.
-- Neither column ever changes, so that turns still write to no index.
CREATE INDEX inventory_warehouse ON inventory (warehouse_id, inventory_id);
