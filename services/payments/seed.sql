-- What the finance company starts with: the bills that are paid, and since when.
CREATE TABLE payments (number TEXT PRIMARY KEY, paid_on TEXT NOT NULL) STRICT;

INSERT INTO payments VALUES ('B-1001', '2025-03-14');
