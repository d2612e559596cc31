//! Constraints by broker and by API at once, and brokers that want to know who comes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::broker::{Ear, Mosquitto, free_port, retain};
use super::control::{GLOBAL, PAUSE, UP, connected};
use crate::harness::Site;

fn in_force(site: &Site) -> Vec<String> {
    let page = site.json(["constraint", "list"]);
    let items = page["items"].as_array().expect("a list");
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    items
        .iter()
        .map(|item| format!("{} {}", text(item, "scope"), text(item, "type")))
        .collect()
}

/// What the broker retains below this filter.
fn retained(port: u16) -> Vec<String> {
    let mut ear = Ear::to(port, "cascade/constraints/#");
    // What is retained comes before what is published after the subscription.
    super::broker::publish(port, &["-t", "cascade/constraints/end", "-n"]);
    ear.wait_for(&["0 cascade/constraints/end"]);
    ear.heard.pop();
    ear.heard.sort();
    ear.heard.clone()
}

#[test]
fn what_is_cleared_here_is_over_there_and_what_expires_needs_no_word() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port;
    let mut engine = connected(&site, port);
    let mut ear = Ear::to(port, "cascade/constraints/#");
    retain(port, GLOBAL, PAUSE);
    engine.wait_for("pause-global");
    // One topic retains one message: the engine keeps it where that of its type is.
    ear.wait_for(&["0 cascade/constraints/global/~pause {", r#""kept": true"#]);
    site.ok(["resume"]);
    ear.wait_for(&[&format!("0 {GLOBAL} {}", PAUSE.replace("null", "1.0"))]);
    assert_eq!(in_force(&site), Vec::<String>::new());
    let port_text = port.to_string();
    site.ok(["pause", "--ttl", "1", "--via", "mqtt", "--port", &port_text]);
    engine.wait_for("global: pause for");
    let id = site.request(["core.noop"]);
    engine.wait_for("global: pause expired");
    assert_eq!(site.ended(&id)["status"], "completed");
    assert_eq!(in_force(&site), Vec::<String>::new());
    let kept = retained(port);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.iter().all(|line| !line.contains(": 1.0}")), "{kept:?}");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn engines_on_one_broker_leave_one_another_what_their_apis_set() {
    let broker = Mosquitto::start();
    let port = broker.port.to_string();
    let sites = [Site::new(), Site::new()];
    let mut engines = sites.each_ref().map(|site| connected(site, broker.port));
    let via = |verb: &[&str]| {
        let rest = ["--via", "mqtt", "--port", port.as_str()];
        sites[0].ok(verb.iter().copied().chain(rest));
    };
    sites[0].ok(["set-limit", "--scope", "task:x", "--concurrency", "1"]);
    via(&["pause", "task:x", "--ttl", "2"]);
    for engine in &mut engines {
        engine.wait_for("task:x: pause expired");
    }
    assert_eq!(in_force(&sites[0]), ["task:x concurrency"]);
    // What an API puts in the place of a pause for all is of its engine alone.
    via(&["pause", "task:y"]);
    for engine in &mut engines {
        engine.wait_for("pause-task:y");
    }
    sites[0].ok(["pause", "task:y", "--ttl", "1h"]);
    let kept = retained(broker.port);
    assert!(!kept.iter().any(|line| line.contains("1.0")), "{kept:?}");
    assert_eq!(in_force(&sites[1]), ["task:y pause"]);
    // Its end for all is said at the other engine, and leaves this one's.
    sites[1].ok(["resume", "task:y"]);
    let mut ear = Ear::to(broker.port, "cascade/constraints/task/y");
    ear.wait_for(&[r#""expires_at": 1.0}"#]);
    assert_eq!(in_force(&sites[1]), Vec::<String>::new());
    assert_eq!(in_force(&sites[0]), ["task:x concurrency", "task:y pause"]);
    for engine in engines {
        assert_eq!(engine.stop().0, 0);
    }
}

#[test]
fn users_who_may_only_read_constraints_or_publish_nothing_else_or_only_write_them() {
    let site = Site::new();
    let folder = site.path().to_owned();
    let file = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("password"), "secret\n").expect("written");
    std::fs::write(folder.join("users"), "").expect("written");
    for name in ["ada", "reader", "writer", "mute"] {
        let made = Command::new("mosquitto_passwd")
            .args(["-b", &file("users"), name, "secret"])
            .output()
            .expect("mosquitto_passwd starts; scripts/setup.sh installs it");
        assert!(made.status.success(), "{made:?}");
    }
    let rights = "user ada\ntopic readwrite #\n\nuser reader\ntopic read cascade/constraints/#\n\nuser writer\ntopic readwrite cascade/constraints/#\n\nuser mute\ntopic write cascade/constraints/#\n";
    std::fs::write(folder.join("rights"), rights).expect("written");
    let settings = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\nuser root\n",
        file("users"),
        file("rights")
    );
    let broker = Mosquitto::start_on(free_port(), &settings);
    let (port, password) = (broker.port.to_string(), file("password"));
    let pause = || {
        let login = ["-u", "ada", "-P", "secret"];
        let message = ["-r", "-t", GLOBAL, "-m", PAUSE];
        super::broker::publish(broker.port, &[login.as_slice(), &message].concat());
    };
    let up = || {
        let mut engine = site.up_with(
            &[],
            &[
                ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
                ("CAMSHAFT__MQTT__PORT", port.as_str()),
                ("CAMSHAFT__MQTT__USER", "reader"),
                ("CAMSHAFT__MQTT__PASSWORD__FILE", password.as_str()),
            ],
        );
        engine.seen_or_wait(UP);
        engine
    };
    pause();
    let mut engine = up();
    engine.seen_or_wait("pause-global");
    // It cannot tell the broker, and what was decided here holds all the same.
    site.ok(["resume"]);
    engine.wait_for("global: pause cleared");
    assert_eq!(engine.stop().0, 0);
    let mut engine = up();
    engine.seen_or_wait("within 2 s");
    assert_eq!(in_force(&site), Vec::<String>::new());
    pause();
    engine.wait_for("pause-global");
    let said_to = |user: &str, verb: &[&str]| {
        let rest = [
            "--via",
            "mqtt",
            "--port",
            port.as_str(),
            "--user",
            user,
            "--password-file",
            password.as_str(),
        ];
        let done = site.run(verb.iter().copied().chain(rest));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    };
    for user in ["writer", "mute"] {
        said_to(user, &["pause", "task:x"]);
        engine.wait_for("pause-task:x");
        let said = said_to(user, &["resume", "task:x"]);
        engine.wait_for("task:x: pause cleared");
        // What is retained this one cannot be told.
        let is_told =
            said.contains("cascade/constraints/task/x retains it for others is not known");
        assert_eq!(is_told, user == "mute", "{said}");
    }
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_is_cleared_while_the_broker_is_away_does_not_come_back_after_a_restart() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port;
    let mut engine = connected(&site, port);
    retain(port, GLOBAL, PAUSE);
    engine.wait_for("pause-global");
    broker.kill();
    engine.wait_for("Engine disconnected");
    site.ok(["resume"]);
    engine.wait_for("global: pause cleared");
    assert_eq!(engine.stop().0, 0);
    // A broker that has kept it on its disk.
    let broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    retain(port, GLOBAL, PAUSE);
    let mut ear = Ear::to(port, GLOBAL);
    ear.next();
    let engine = connected(&site, port);
    let over = PAUSE.replace("null", "1.0");
    assert_eq!(ear.next(), format!("0 {GLOBAL} {over}"));
    assert_eq!(in_force(&site), Vec::<String>::new());
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    assert_eq!(engine.stop().0, 0);
    drop(broker);
}

#[test]
fn the_command_line_publishes_what_clients_in_the_field_read() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port.to_string();
    let via = |verb: &[&str]| {
        let rest = ["--via", "mqtt", "--port", port.as_str()];
        site.ok(verb.iter().copied().chain(rest));
    };
    let topic = "cascade/constraints/task/noop";
    let message = |text: &str| -> Value {
        let (_, payload) = text.split_once('{').expect("an object");
        serde_json::from_str(&format!("{{{payload}")).expect("JSON")
    };
    // No engine is there.
    via(&["set-limit", "--scope", "task:noop", "--concurrency", "0"]);
    via(&["pause", "task:noop", "--reason", "deploy"]);
    let kept = retained(broker.port);
    assert_eq!(kept.len(), 3, "{kept:?}");
    // Who reads it strictly takes these keys and no others.
    let plain = r#"{"id": "pause-task:noop", "scope": "task:noop", "type": "pause", "params": {}, "expires_at": null"#;
    assert_eq!(kept[0], format!("1 {topic} {plain}}}"));
    assert!(
        kept[1].starts_with(&format!("1 {topic}/~concurrency ")),
        "{}",
        kept[1]
    );
    assert_eq!(message(&kept[1])["params"]["limit"], 0);
    assert!(
        kept[2].starts_with(&format!("1 {topic}/~pause ")),
        "{}",
        kept[2]
    );
    assert!(
        kept[2].contains(&format!(r#"{plain}, "reason": "deploy""#)),
        "{}",
        kept[2]
    );
    // A pause ends, and the limit of the same scope stays, also for an engine that comes only now.
    via(&["resume", "task:noop"]);
    let over = plain.replace("null", "1.0");
    assert_eq!(retained(broker.port)[0], format!("1 {topic} {over}}}"));
    let mut engine = connected(&site, broker.port);
    engine.seen_or_wait("concurrency-task:noop");
    assert_eq!(in_force(&site), ["task:noop concurrency"]);
    // The reason is told by the topic of the type, and the other one does not take it away.
    via(&["pause", "task:noop", "--reason", "deploy"]);
    engine.wait_for("pause-task:noop");
    let shown = site.json(["constraint", "show", "task:noop", "pause"]);
    assert_eq!(shown["reason"], "deploy", "{shown}");
    via(&["resume", "task:noop"]);
    engine.wait_for("task:noop: pause cleared");
    // A rate without a unit is a number, as clients in the field write it.
    via(&["set-limit", "--scope", "task:rated", "--rate", "5"]);
    engine.wait_for("ratelimit-task:rated");
    let rated = retained(broker.port)
        .into_iter()
        .find(|line| line.contains("task/rated {"));
    let rated = message(&rated.expect("a message"));
    assert_eq!(rated["params"], serde_json::json!({ "rate": 5 }));
    via(&["resume", "task:rated", "--all"]);
    engine.wait_for("task:rated: at most 5/s cleared");
    via(&["resume", "task:noop", "--all"]);
    engine.wait_for("task:noop: at most 0 at once cleared");
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    assert_eq!(engine.stop().0, 0);
    // Nothing but the ends is left for who comes later.
    let ends = |line: &String| line.contains(r#""expires_at": 1.0, "was": "#);
    let kept = retained(broker.port);
    assert!(kept.iter().all(ends), "{kept:?}");
    // An engine that is away when they are published takes them up from there.
    via(&["pause", "task:noop"]);
    let mut engine = connected(&site, broker.port);
    engine.seen_or_wait("pause-task:noop");
    assert_eq!(engine.stop().0, 0);
    via(&["resume", "task:noop"]);
    let engine = connected(&site, broker.port);
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    assert_eq!(in_force(&site), Vec::<String>::new());
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_broker_that_lets_the_engine_publish_nothing_of_its_own() {
    let site = Site::new();
    let rights = site.path().join("rights");
    std::fs::write(&rights, "topic readwrite cascade/constraints/#\n").expect("written");
    let settings = format!(
        "allow_anonymous true\nacl_file {}\nuser root\n",
        rights.display()
    );
    let broker = Mosquitto::start_on(free_port(), &settings);
    retain(broker.port, GLOBAL, PAUSE);
    let mut engine = connected(&site, broker.port);
    engine.seen_or_wait("within 2 s");
    engine.seen_or_wait("pause-global");
    retain(broker.port, GLOBAL, "");
    engine.wait_for("global: pause cleared");
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    assert_eq!(engine.stop().0, 0);
}

/// A key and a certificate for it, signed by `ca` or by itself.
fn certificate(folder: &Path, name: &str, signed_by: Option<&str>) {
    let run = |arguments: &str| {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl starts; scripts/setup.sh installs it");
        assert!(status.status.success(), "openssl {arguments}: {status:?}");
    };
    let key = format!(
        "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -subj /CN={name}"
    );
    match signed_by {
        None => run(&format!("req -x509 {key} -out {name}.pem -days 2")),
        Some(ca) => {
            std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n")
                .expect("written");
            run(&format!("req {key} -out {name}.csr"));
            run(&format!(
                "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
            ));
        }
    }
}

#[test]
fn a_broker_that_asks_for_tls_a_certificate_and_a_password() {
    let site = Site::new();
    let folder = site.path().to_owned();
    certificate(&folder, "ca", None);
    for name in ["server", "client"] {
        certificate(&folder, name, Some("ca"));
    }
    let file = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("password"), "secret\n").expect("written");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c", &file("users"), "ada", "secret"])
        .status()
        .expect("mosquitto_passwd starts; scripts/setup.sh installs it");
    assert!(made.success(), "{made}");
    let settings = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nallow_anonymous false\npassword_file {}\nuser root\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key"),
        file("users")
    );
    let broker = Mosquitto::start_on(free_port(), &settings);
    let port = broker.port.to_string();
    let (ca, cert, key, password) = (
        file("ca.pem"),
        file("client.pem"),
        file("client.key"),
        file("password"),
    );
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "localhost"),
        ("CAMSHAFT__MQTT__PORT", port.as_str()),
        ("CAMSHAFT__MQTT__USER", "ada"),
        ("CAMSHAFT__MQTT__PASSWORD__FILE", password.as_str()),
        ("CAMSHAFT__MQTT__TLS__CA", ca.as_str()),
        ("CAMSHAFT__MQTT__TLS__CERT", cert.as_str()),
        ("CAMSHAFT__MQTT__TLS__KEY", key.as_str()),
    ];
    let mut engine = site.up_with(&[], &variables);
    engine.seen_or_wait(UP);
    let by_cli = [
        "pause",
        "--via",
        "mqtt",
        "--host",
        "localhost",
        "--port",
        &port,
        "--user",
        "ada",
    ];
    let with_tls = [
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--password-file",
    ];
    site.ok(by_cli.iter().chain(&with_tls).chain(&[password.as_str()]));
    engine.wait_for("pause-global");
    // A wrong password, and no trust.
    std::fs::write(folder.join("wrong"), "Secret").expect("written");
    let wrong = file("wrong");
    let refused = site.run(by_cli.iter().chain(&with_tls).chain(&[wrong.as_str()]));
    assert_eq!(refused.status.code(), Some(3));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        error.contains("refuses the connection: not authorised"),
        "{error}"
    );
    let strangers = [
        "--tls-ca",
        &cert,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--password-file",
        &password,
    ];
    let refused = site.run(by_cli.iter().chain(&strangers));
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert_eq!(engine.stop().0, 0);
}
