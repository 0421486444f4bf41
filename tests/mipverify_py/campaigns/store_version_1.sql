PRAGMA application_id = 1297105731;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    query INTEGER NOT NULL REFERENCES query (id),
    session TEXT NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,
    final INTEGER NOT NULL CHECK (final IN (0, 1)),
    time_limit REAL CHECK (time_limit BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    gap_absolute REAL NOT NULL CHECK (gap_absolute BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    gap_relative REAL NOT NULL CHECK (gap_relative BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    overrides TEXT NOT NULL,
    worker TEXT NOT NULL,
    provenance TEXT NOT NULL REFERENCES provenance (digest),
    started TEXT NOT NULL,
    elapsed REAL NOT NULL CHECK (elapsed BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    failure TEXT CHECK (failure IN ('killed', 'hung', 'memory', 'lost', 'error')),
    failure_detail TEXT,
    decided INTEGER CHECK (decided IN (0, 1)),
    verdict TEXT CHECK (verdict IN ('robust', 'adversarial', 'unknown')),
    lower REAL CHECK (lower BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    upper REAL CHECK (upper BETWEEN 0 AND 1.7976931348623157e308),
    evidence TEXT CHECK (evidence IN ('reproved', 'solver_claim')),
    evidence_detail TEXT,
    stop_reason TEXT,
    stop_detail TEXT,
    predicted INTEGER,
    reference INTEGER,
    engine TEXT,
    backend TEXT,
    seconds REAL CHECK (seconds BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    statistics TEXT,
    CHECK ((failure IS NULL) = (decided IS NOT NULL)),
    CHECK (failure IS NOT NULL OR (stop_reason IS NOT NULL AND engine IS NOT NULL AND seconds IS NOT NULL))
) STRICT;
INSERT INTO "attempt" VALUES(1,'958047684423dc69ca172fa62ee0b804baa8b2396016242bd89d8bb211fed4b5',1,'c06288ab6e464e1ea2cae5f87888867a',1,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:36.911Z',9.5367431640625e-07,NULL,NULL,1,'adversarial',0.1,0.1,'reproved','','solved','',3,3,'cuts',NULL,0.5,'{"nodes":7}');
INSERT INTO "attempt" VALUES(2,'35b34ba123bb4d10523977cba881a71e8278e470da6592b5792f499a48e80acc',2,'c06288ab6e464e1ea2cae5f87888867a',1,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:36.971Z',1.9073486328125e-06,NULL,NULL,0,'unknown',0.25,NULL,'solver_claim','scip, 1e-09','time_limit','',3,3,'mip','scip',0.5,'{"nodes":7}');
INSERT INTO "attempt" VALUES(3,'de4dbe0f6dddebd6558d0158baa0f4695c53c1ca50aece4e3c6bf6ed2b034481',3,'c06288ab6e464e1ea2cae5f87888867a',1,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:37.002Z',2.86102294921875e-06,NULL,NULL,1,'robust',NULL,NULL,'reproved','','solved','',3,3,'cuts',NULL,0.5,'{"nodes":7}');
INSERT INTO "attempt" VALUES(4,'54f29a3d30d5808d0941d6fe58884e7809e3aeb148eccfa170b9d57f37bbb264',4,'c06288ab6e464e1ea2cae5f87888867a',1,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:37.023Z',3.814697265625e-06,'memory','over 2 GiB',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(5,'726e147dc7fc95f2b831b15af72a12fa767f30fcd7c4333d0e9bcf58ec93f586',4,'c06288ab6e464e1ea2cae5f87888867a',2,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:37.058Z',4.76837158203125e-06,'memory','over 2 GiB',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(6,'e8c90cc2b6988f3883d926179c62de8591f703064fc2b32ab529dd5977a94693',4,'c06288ab6e464e1ea2cae5f87888867a',3,1,10.0,1.0e-06,1.0e-05,'{}','worker-1','d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','2026-11-21T17:40:37.082Z',5.7220458984375e-06,'memory','over 2 GiB',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE configuration (
    name TEXT PRIMARY KEY,
    model TEXT NOT NULL REFERENCES model (digest)
) STRICT;
INSERT INTO "configuration" VALUES('A','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id),
    ordinal INTEGER NOT NULL,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    query INTEGER REFERENCES query (id),
    UNIQUE (session, ordinal)
) STRICT;
INSERT INTO "event" VALUES(1,'c06288ab6e464e1ea2cae5f87888867a',1,'2026-11-21T17:40:36.813Z','queries','4 new queries',NULL);
INSERT INTO "event" VALUES(2,'c06288ab6e464e1ea2cae5f87888867a',2,'2026-11-21T17:40:36.912Z','answer','solved',1);
INSERT INTO "event" VALUES(3,'c06288ab6e464e1ea2cae5f87888867a',3,'2026-11-21T17:40:36.971Z','answer','time_limit',2);
INSERT INTO "event" VALUES(4,'c06288ab6e464e1ea2cae5f87888867a',4,'2026-11-21T17:40:37.003Z','answer','solved',3);
INSERT INTO "event" VALUES(5,'c06288ab6e464e1ea2cae5f87888867a',5,'2026-11-21T17:40:37.023Z','failure','memory: over 2 GiB',4);
INSERT INTO "event" VALUES(6,'c06288ab6e464e1ea2cae5f87888867a',6,'2026-11-21T17:40:37.059Z','failure','memory: over 2 GiB',4);
INSERT INTO "event" VALUES(7,'c06288ab6e464e1ea2cae5f87888867a',7,'2026-11-21T17:40:37.083Z','failure','memory: over 2 GiB',4);
CREATE TABLE finding (
    id INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL REFERENCES attempt (id),
    name TEXT NOT NULL,
    distance REAL CHECK (distance BETWEEN 0 AND 1.7976931348623157e308),
    target INTEGER,
    shape TEXT,
    data BLOB,
    checksum TEXT,
    seconds REAL CHECK (seconds BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308),
    calls INTEGER,
    CHECK ((data IS NULL) = (shape IS NULL) AND (data IS NULL) = (checksum IS NULL))
) STRICT;
INSERT INTO "finding" VALUES(1,1,'exact',0.1,5,'[1,2,3]',X'789C9B35130476DA3380C10328FD014A5F80D22FA0F4017B0030440A13','c9b0be7fbb00000700c1c3610d2e7788bdda74bebcef5af481022684e5788afa',NULL,NULL);
CREATE TABLE input (
    id INTEGER PRIMARY KEY,
    dataset TEXT NOT NULL,
    position INTEGER NOT NULL,
    label INTEGER,
    shape TEXT NOT NULL,
    data BLOB NOT NULL,
    checksum TEXT NOT NULL,
    UNIQUE (dataset, position, shape)
) STRICT;
INSERT INTO "input" VALUES(1,'toy',0,3,'[1,2,3]',X'789C636040060FEC21F407287D014ABF80D207EC01646B0584','2d59b2b8dfe7c4aa269810b486a82b5660a9ff9b2bf51daf8de28d4480d839fb');
INSERT INTO "input" VALUES(2,'toy',1,3,'[1,2,3]',X'789C6360400617EC21F403287D004ADF80D21BEC015ECB0534','9542fceae4bafd25e87c306179a83d3c5a4ecd08b9b3824e6bf7f81b80c6fc00');
CREATE TABLE model (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    onnx BLOB NOT NULL,
    checksum TEXT NOT NULL,
    card TEXT NOT NULL
) STRICT;
INSERT INTO "model" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','small',X'6E6F74207265616C6C79204F4E4E58','50ad091bc893c9cd193b8010408679ee58e07efe6a279440a01440f99295c7c1','{"accuracy":0.9,"seed":3}');
CREATE TABLE protocol (
    id INTEGER PRIMARY KEY,
    configuration TEXT NOT NULL REFERENCES configuration (name),
    kind TEXT NOT NULL CHECK (kind IN ('distance', 'verify', 'attack')),
    norm TEXT NOT NULL,
    attack_set TEXT NOT NULL,
    digest TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (configuration, kind, norm, attack_set)
) STRICT;
INSERT INTO "protocol" VALUES(1,'A','distance','linf','','e484fd52db06c9d1fac7f308aba99a719abb2371e2dac06e12ce66419f58292c','{"options":{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"},"question":{"domain":[0.0,1.0],"margin":0.0,"norm":"linf"},"seed":0}');
INSERT INTO "protocol" VALUES(2,'A','verify','linf','','e484fd52db06c9d1fac7f308aba99a719abb2371e2dac06e12ce66419f58292c','{"options":{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"},"question":{"domain":[0.0,1.0],"margin":0.0,"norm":"linf"},"seed":0}');
INSERT INTO "protocol" VALUES(3,'A','attack','linf','fast','6739583d5a5d4f5af39641a4d0e6f7d10761f229426e7363e79f8fb6b721b78c','{"options":{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"},"question":{"attacks":{"pgd":{"steps":7}},"domain":[0.0,1.0],"finish":false,"norm":"linf","set":"fast"},"seed":0}');
CREATE TABLE provenance (
    digest TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    versions TEXT NOT NULL
) STRICT;
INSERT INTO "provenance" VALUES('d7b3f33168be70db0bb6b2a654cf991531a5b07ccc653d8184afbe45443281de','{"cores":2,"cpu":"a processor","gpu":null,"memory_gib":8,"system":"Linux"}','{"mipverify-py":"0.1.0","numpy":"2.1"}');
CREATE TABLE query (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    protocol INTEGER NOT NULL REFERENCES protocol (id),
    model TEXT NOT NULL REFERENCES model (digest),
    input INTEGER NOT NULL REFERENCES input (id),
    eps REAL CHECK (eps BETWEEN 0 AND 1.7976931348623157e308),
    question TEXT NOT NULL,
    options TEXT NOT NULL,
    seed INTEGER NOT NULL
) STRICT;
INSERT INTO "query" VALUES(1,'9d5766aa7e665b3bbe968074e3f327f6aec1c2bb8f3752c44397ecda314ce253',1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,NULL,'{"domain":[0.0,1.0],"label":null,"margin":0.0,"norm":"linf","targets":null}','{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"}',0);
INSERT INTO "query" VALUES(2,'978a6b714679c57b81c4ca3285c69b5d9645f8f066079ba5d60a9be69607386d',1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',2,NULL,'{"domain":[0.0,1.0],"label":null,"margin":0.0,"norm":"linf","targets":null}','{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"}',0);
INSERT INTO "query" VALUES(3,'b0240b9f062b38679530a7962e1cd87cbdcde288fb124f8ffbb559a1fc14a72d',2,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,0.0625,'{"domain":[0.0,1.0],"eps":0.0625,"label":null,"margin":0.0,"norm":"linf","targets":null}','{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"}',0);
INSERT INTO "query" VALUES(4,'77006603e124a45414d49eaf837c973e5a80fa4407cc379fa3eae3cc2604fc27',3,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,NULL,'{"attacks":{"pgd":{"steps":7}},"domain":[0.0,1.0],"finish":false,"label":null,"norm":"linf","set":"fast"}','{"backend":"highs","engine":"auto","restarts":4,"tightening":"lp"}',0);
CREATE TABLE session (
    id TEXT PRIMARY KEY,
    started TEXT NOT NULL,
    package TEXT NOT NULL
) STRICT;
INSERT INTO "session" VALUES('c06288ab6e464e1ea2cae5f87888867a','2026-11-21T17:40:36.671Z','0.1.0');
CREATE TABLE spec (
    digest TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id),
    spec TEXT NOT NULL
) STRICT;
INSERT INTO "spec" VALUES('7247ba7107a49d91d6e6420fecb6150c66f605a3374c77c60e29f853aa525812','c06288ab6e464e1ea2cae5f87888867a','{"limits":{"time_limit":10.0}}');
CREATE INDEX query_of_input ON query (input);
CREATE INDEX attempt_of_query ON attempt (query);
CREATE INDEX finding_of_attempt ON finding (attempt);
CREATE INDEX event_of_query ON event (query);
CREATE TRIGGER session_is_not_changed BEFORE UPDATE ON session
BEGIN SELECT RAISE(ABORT, 'rows of table session are only ever added'); END;
CREATE TRIGGER session_is_not_removed BEFORE DELETE ON session
BEGIN SELECT RAISE(ABORT, 'rows of table session are only ever added'); END;
CREATE TRIGGER spec_is_not_changed BEFORE UPDATE ON spec
BEGIN SELECT RAISE(ABORT, 'rows of table spec are only ever added'); END;
CREATE TRIGGER spec_is_not_removed BEFORE DELETE ON spec
BEGIN SELECT RAISE(ABORT, 'rows of table spec are only ever added'); END;
CREATE TRIGGER model_is_not_changed BEFORE UPDATE ON model
BEGIN SELECT RAISE(ABORT, 'rows of table model are only ever added'); END;
CREATE TRIGGER model_is_not_removed BEFORE DELETE ON model
BEGIN SELECT RAISE(ABORT, 'rows of table model are only ever added'); END;
CREATE TRIGGER configuration_is_not_changed BEFORE UPDATE ON configuration
BEGIN SELECT RAISE(ABORT, 'rows of table configuration are only ever added'); END;
CREATE TRIGGER configuration_is_not_removed BEFORE DELETE ON configuration
BEGIN SELECT RAISE(ABORT, 'rows of table configuration are only ever added'); END;
CREATE TRIGGER protocol_is_not_changed BEFORE UPDATE ON protocol
BEGIN SELECT RAISE(ABORT, 'rows of table protocol are only ever added'); END;
CREATE TRIGGER protocol_is_not_removed BEFORE DELETE ON protocol
BEGIN SELECT RAISE(ABORT, 'rows of table protocol are only ever added'); END;
CREATE TRIGGER input_is_not_changed BEFORE UPDATE ON input
BEGIN SELECT RAISE(ABORT, 'rows of table input are only ever added'); END;
CREATE TRIGGER input_is_not_removed BEFORE DELETE ON input
BEGIN SELECT RAISE(ABORT, 'rows of table input are only ever added'); END;
CREATE TRIGGER query_is_not_changed BEFORE UPDATE ON query
BEGIN SELECT RAISE(ABORT, 'rows of table query are only ever added'); END;
CREATE TRIGGER query_is_not_removed BEFORE DELETE ON query
BEGIN SELECT RAISE(ABORT, 'rows of table query are only ever added'); END;
CREATE TRIGGER provenance_is_not_changed BEFORE UPDATE ON provenance
BEGIN SELECT RAISE(ABORT, 'rows of table provenance are only ever added'); END;
CREATE TRIGGER provenance_is_not_removed BEFORE DELETE ON provenance
BEGIN SELECT RAISE(ABORT, 'rows of table provenance are only ever added'); END;
CREATE TRIGGER attempt_is_not_changed BEFORE UPDATE ON attempt
BEGIN SELECT RAISE(ABORT, 'rows of table attempt are only ever added'); END;
CREATE TRIGGER attempt_is_not_removed BEFORE DELETE ON attempt
BEGIN SELECT RAISE(ABORT, 'rows of table attempt are only ever added'); END;
CREATE TRIGGER finding_is_not_changed BEFORE UPDATE ON finding
BEGIN SELECT RAISE(ABORT, 'rows of table finding are only ever added'); END;
CREATE TRIGGER finding_is_not_removed BEFORE DELETE ON finding
BEGIN SELECT RAISE(ABORT, 'rows of table finding are only ever added'); END;
CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'rows of table event are only ever added'); END;
CREATE TRIGGER event_is_not_removed BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'rows of table event are only ever added'); END;
COMMIT;
