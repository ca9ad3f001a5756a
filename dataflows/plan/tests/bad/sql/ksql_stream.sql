CREATE STREAM behavior (student_id VARCHAR KEY) WITH (kafka_topic = 'aula.behavior.v1', value_format = 'json');
