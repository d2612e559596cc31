//! A collector of the test's own: it takes OTLP over HTTP and reads it with the types that the
//! OpenTelemetry project publishes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::harness::PATIENCE;

/// How a collector answers.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    Takes,
    Answers(u16),
    /// It reads the request and says nothing.
    Hangs,
}

pub(crate) struct Collector {
    pub(crate) url: String,
    manner: Arc<Mutex<Manner>>,
    requests: Receiver<Request>,
}

pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) export: ExportTraceServiceRequest,
}

impl Collector {
    pub(crate) fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(Mutex::new(manner));
        let (sender, requests) = channel();
        let behaves = manner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, behaves) = (sender.clone(), behaves.clone());
                std::thread::spawn(move || serve(stream, &sender, &behaves));
            }
        });
        Self {
            url,
            manner,
            requests,
        }
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        *self.manner.lock().expect("not poisoned") = manner;
    }

    /// The next request, whatever was answered.
    #[track_caller]
    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// Every span that has come by now.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests
            .try_iter()
            .flat_map(|request| request.spans())
            .collect()
    }
}

impl Request {
    pub(crate) fn spans(self) -> Vec<Span> {
        let resources = self.export.resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

fn serve(stream: TcpStream, requests: &Sender<Request>, manner: &Mutex<Manner>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().expect("a number"))
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if head.is_empty() || reader.read_exact(&mut body).is_err() {
        return;
    }
    let export = ExportTraceServiceRequest::decode(&*body).expect("what OTLP says");
    let manner = *manner.lock().expect("not poisoned");
    let _ = requests.send(Request { head, export });
    let status = match manner {
        Manner::Takes => 200,
        Manner::Answers(status) => status,
        Manner::Hangs => {
            // Until the engine hangs up.
            let _ = reader.read(&mut [0]);
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = reader.get_mut().write_all(answer.as_bytes());
}

/// The value of an attribute as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
