-- What the hospital starts with.  Amounts are in minor units (cents).
CREATE TABLE patients (patient TEXT PRIMARY KEY) STRICT;
CREATE TABLE bills (
    number TEXT PRIMARY KEY,
    patient TEXT NOT NULL REFERENCES patients,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    purpose TEXT NOT NULL
) STRICT;

INSERT INTO patients VALUES ('anna-berg'), ('jonas-weber'), ('mei-lin');
INSERT INTO bills VALUES
    ('B-1001', 'anna-berg', 12550, 'EUR', 'X-ray of the left wrist'),
    ('B-1002', 'anna-berg', 4999, 'EUR', 'Consultation'),
    ('B-1003', 'anna-berg', 1001, 'EUR', 'Plaster cast'),
    ('B-1004', 'jonas-weber', 189000, 'EUR', 'Two nights on the ward'),
    ('B-1005', 'jonas-weber', 7505, 'CHF', 'Physiotherapy in Basel');
